# The small Llama of examples/bard in INT4, without and with text to calibrate
# on, and how far each is from BF16 on another play.
#
#   llima plan  -C examples/calibrated
#   llima build -C examples/calibrated
#   llima eval  -C examples/calibrated
#
# 32 short samples take seconds, and bring the divergence from 0.0094 to 0.0023.

locals {
  source = "../../testdata/models/bard-3m"
  text   = "../../testdata/text"
}

model "plain" {
  source    = local.source
  output    = "out/plain"
  precision = "A_BF16_W_INT4"
}

model "calibrated" {
  source    = local.source
  output    = "out/calibrated"
  precision = "A_BF16_W_INT4"

  calibration {
    dataset = "${local.text}/calibration.txt"
    samples = 32
    seq_len = 256
  }
}

# Gates: where the divergence is larger, eval ends with exit code 6.
eval "plain" {
  model     = model.plain
  dataset   = "${local.text}/eval-tempest.txt"
  metric    = "kl"
  max_delta = 0.012
}

eval "calibrated" {
  model     = model.calibrated
  dataset   = "${local.text}/eval-tempest.txt"
  metric    = "kl"
  max_delta = 0.006
}
