model "a" {
  contxt_length    = 1024
  precision        = BF16
  return_logits    = "true"
  lora             = "LORA_BRANCHES"
  external_data    = "hardlink"
  output           = 3
  quantize_weights = true
}

model "b" {
  source              = "x"
  context_length      = "1024"
  language_group_size = 12.5
}

model "c" {
  source         = "x"
  context_length = 2000000
}

model "d" {
  source                 = "x"
  context_length         = 1000
  future_token_mask_size = 300
}

model "e" {
  source = null
}

model "f" {
  source = "~/models/x"
  output = ""
}
