locals {
  a = lenght("x")
  b = getenv("HOME")
  c = timestamp()
  d = file("../../../../etc/passwd")
  e = file("/etc/passwd")
  f = file("testdata/absent.txt")
  g = bytes("16GB ")
  h = bytes("16Gib")
  i = format("%2000d", 1)
  j = setproduct(range(1000), range(1000))
  k = [for a in range(9) : [for b in range(9) : [for c in range(9) : a]]]
  l = upper()
  m = abs("x")
}
