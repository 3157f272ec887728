model "a" {
  source = "x"

  layer "arms" {
    precision = layer.is_group ? "INT8" : "A_BF16_W_INT4"
  }
  layer "nested" {
    precision = layer.index < 2 ? "bf16" : (layer.is_group ? "A_BF16_W_INT8" : 4)
  }
  layer "compile" {
    compile = "no"
  }
  layer "lora" {
    lora = "LORA_BRANCH"
  }
  layer "lora" {
    lora = "MERGED"
  }
  layer "typo" {
    presicion = "BF16"
  }
}
