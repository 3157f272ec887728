locals {
  list = [1, 2, 3]
  bad  = { for k, v in { a = "x" } : k => v + 1 }
  idx  = local.list[7]
  txt  = "n is ${null}"
  cond = "x" ? 1 : 2
}

model "a" {
  for_each       = { short = 256, wide = "many" }
  source         = "x"
  output         = "out/${each.key}"
  context_length = each.value * 2
}
