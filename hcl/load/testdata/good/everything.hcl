variable "context_length" {
  type    = number
  default = 1024
  validation {
    condition     = var.context_length % 128 == 0
    error_message = "context_length must be a multiple of 128."
  }
}

policy "balanced" {
  layer "vision" {
    when      = layer.part == "VISION"
    precision = "BF16"
  }
  layer "prefill" {
    when      = layer.is_group
    precision = "A_BF16_W_INT8"
  }
  layer "decode" {
    precision = "A_BF16_W_INT4"
  }
}

model "tuned" {
  for_each       = { short = 1024, long = 4096 }
  source         = "models/Llama-3.2-3B"
  output         = "out/tuned-${each.key}"
  context_length = each.value
  policies       = [policy.balanced]

  layer "drop_late_cache" {
    when    = layer.part == "CACHE" && layer.index > 20
    compile = false
  }
  layer "early" {
    when      = layer.index < 4
    precision = "BF16"
  }
}

model "with_lora" {
  source                = "models/Llama-3.2-3B-Instruct"
  enable_filter_sharing = true
  lora_rank             = 16 # an adapter up to this rank can be added later without recompiling

  layer "all" {
    precision = layer.is_group ? "A_BF16_W_INT8" : "A_BF16_W_INT4"
    lora      = "LORA_BRANCH"
  }
  adapter "my_adapter_A" { path = "adapters/a" }
  adapter "my_adapter_B" { path = "adapters/b" }
}

eval "ppl" {
  model     = model.with_lora
  dataset   = "eval/text.txt"
  metric    = "perplexity"
  max_delta = 0.30
}
