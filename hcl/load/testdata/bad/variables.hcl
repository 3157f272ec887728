variable "ctx" {
  type    = number
  default = 1000
  validation {
    condition     = var.ctx % 128 == 0
    error_message = "ctx must be a multiple of 128."
  }
}

variable "given" {
  type = string
}

variable "wrong" {
  type    = number
  default = "12"
}

variable "typed" {
  type    = text
  default = 1
}

variable "untyped" {
  default = local.x
}

variable "ctx" {
  type = number
}

model "a" {
  source         = var.sourc
  context_length = variable.ctx
}
