locals {
  a = local.b
  b = local.c
  c = local.a
  d = local.d
  e = local.contxt
  f = locals.a
  g = { x = 1, y = 2, x = 3 }
  h = local.g.z
  i = local.ctx.shrt
  j = each.key
  k = 1 + "a"
  l = 10 / local.zero
}

locals {
  ctx  = { short = 1, long = 2 }
  zero = 0
  a    = 3
}
