backend "modalx" {
  board = "modalix-16g"
}

executor {
  jobs       = 0
  max_memory = "16 Gb"
  threads    = 2
}

cache {
  dir  = "~/cache"
  mode = "write"
}

model "a" {
  source = "x"

  vision {
    height = 448.5
  }
  calibration {
    samples = 0
    method  = "gptq"
  }
  quantization {
    group_size = { INT4 = 48, A_BF16_W_INT4 = 48, BF16 = 32 }
    method     = "calibratd"
    head       = "INT8"
  }
  budget {
    max_size  = plan.sise / 3
    max_dram  = -1
    on_exceed = "warn"
  }
}

model "b" {
  source = plan.size
  quantization {
    group_size = "64"
    method     = { A_BF16_W_INT4 = "calibrated" }
  }
  budget {
    max_size = layer.index
    max_dram = "0 B"
  }
  adapter "x-y" { path = "a" }
  adapter "x" {
    for_each = { y = "b" }
    path     = each.value
  }
}

model "c" {
  for_each = toset(["s", "t"])
  source   = "x"
  output   = "out/c-${each.key}"
}

eval "one" {
  model     = model.d
  dataset   = ""
  metric    = "ppl"
  max_delta = -0.1
}

eval "two" {
  model     = model.c["u"]
  dataset   = plan.size
  metric    = "kl"
  max_delta = "0.3"
}

eval "three" {
  model   = model.b["s"]
  dataset = "x"
  metric  = "kl"
}

eval "four" {
  model   = "model.b"
  dataset = "x"
  metric  = "kl"
}
