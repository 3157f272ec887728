model "a" {
  source = "x"
  output = "out/one"
}

model "b" {
  source = "x"
  output = "out/two/../one"
}

model "c" {
  for_each = { s = 1, t = 2 }
  source   = "x"
  output   = "out/c"
}

model "a" {
  source = "y"
}
