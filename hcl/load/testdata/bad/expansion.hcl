model "a" {
  for_each = { b = 1 }
  source   = "x"
}

model "a-b" {
  source = "x"
}

model "list" {
  for_each = ["x", "y"]
  source   = "x"
}

model "slash" {
  for_each = { "x/y" = 1 }
  source   = "x"
}

model "attr" {
  for_each       = { short = { ctx = 256 } }
  source         = "x"
  context_length = each.value.context
}

model "both" {
  for_each = {}
  matrix   = {}
  source   = "x"
}

model "matrix" {
  matrix = { ctx = 1024 }
  source = "x"
}

model "size" {
  for_each       = { long = 1000 }
  source         = "x"
  context_length = each.value
}

model "ident" {
  source = each.value
}
