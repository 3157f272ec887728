# A small Llama, trained on public-domain plays, built in three ways.
#
#   llima plan  -C examples/bard
#   llima build -C examples/bard
#   llima run   examples/bard/out/bard-bf16 $'ROMEO:\n'

locals {
  source = "../../testdata/models/bard-3m"
}

# More bits where a prompt is read, fewer where tokens are written one by one.
policy "mixed" {
  layer "prefill" {
    when      = layer.is_group
    precision = "A_BF16_W_INT8"
  }
  layer "decode" {
    precision = "A_BF16_W_INT4"
  }
}

model "bard-bf16" {
  source        = local.source
  output        = "out/bard-bf16"
  return_logits = true
}

model "bard-mixed" {
  source        = local.source
  output        = "out/bard-mixed"
  return_logits = true
  policies      = [policy.mixed]
}

# The last layer's attention is left out, so this output can be inspected and
# measured, but a prompt needs a runtime that brings its own.
model "bard-rules" {
  source = local.source
  output = "out/bard-rules"

  layer "skip_late_cache" {
    when    = layer.part == "CACHE" && layer.index > 2
    compile = false
  }
  layer "early" {
    when      = layer.index < 1
    precision = "BF16"
  }
  layer "middle" {
    precision = "A_BF16_W_INT8"
  }
}
