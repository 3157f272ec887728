model "a" {
  source = "x"
  lora   = "LORA_MERGED"
  layer "group" {
    when = layer.is_group
    lora = layer.index < 2 ? "LORA_BRANCH" : "LORA_DISABLED"
  }
}

model "quantised" {
  source    = "x.gguf"
  precision = "BF16"
  layer "early" {
    precision = "A_BF16_W_INT8"
  }
}

model "packed" {
  source = "x"
  format = "compressed_tensors"
  layer "early" {
    precision = "A_BF16_W_INT8"
  }
}
