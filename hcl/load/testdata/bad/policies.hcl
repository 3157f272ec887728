policy "balanced" {
  precision = "BF16"
  layer "all" {
    when = each.key == "x"
  }
  layer "typo" {
    when = layer.part == "PRO"
  }
}

model "a" {
  source   = "x"
  policies = [policy.balance]
}

model "b" {
  source   = "x"
  policies = ["balanced"]
}

model "c" {
  source   = "x"
  policies = policy.balanced
}

model "d" {
  source   = "x"
  policies = [policy.balanced, policy.balanced]
}

model "e" {
  source = policy.balanced
}
