modle "a" {
  source = "x"
}

model {
  source = "x"
}

model "b" "c" {
  source = "x"
}

model "with space" {
  source = "x"
}

locals "named" {}

model "d" {
  source = "x"
  layr "rule" {}
  precision {}
  vision = { height = 448 }
  calibration {
    dataset = "d.txt"
    epochs  = 3
  }
  vision {}
  vision {}
}
