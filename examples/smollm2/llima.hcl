# A real model: SmolLM2-135M-Instruct, in BF16 and in two precisions.
#
#   source=$(testdata/real/smollm2)
#   llima build -C examples/smollm2 --var source="$source"
#   llima run   examples/smollm2/out/smollm2-bf16 'What is the capital of France?'

variable "source" {
  type        = string
  description = "Folder of the checkpoint, as testdata/real/smollm2 prints it."
}

model "smollm2-bf16" {
  source = var.source
  output = "out/smollm2-bf16"
}

# More bits where a prompt is read, fewer where tokens are written one by one.
model "smollm2-mixed" {
  source = var.source
  output = "out/smollm2-mixed"

  layer "prefill" {
    when      = layer.is_group
    precision = "A_BF16_W_INT8"
  }
  layer "decode" {
    precision = "A_BF16_W_INT4"
  }
}
