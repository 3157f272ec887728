model "a" {
  source = "x
  output = 
}
