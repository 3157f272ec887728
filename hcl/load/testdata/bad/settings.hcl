llima {
  required_version = ">= 9.1, < 10"
  default_targets  = ["tunde", "tuned:quantise", "t*", "tuned:["]
}

model "tuned" {
  source = "x"
}

eval "ppl" {
  model     = model.tunde
  dataset   = "d.txt"
  metric    = "perplexety"
  max_delta = "0.3"
}

eval "kl" {
  model   = "tuned"
  dataset = "d.txt"
  metric  = "kl"
}

executor {
  jobs       = 0
  max_memory = "16 gigs"
}
