model "a" {
  source = "x"

  layer "swallowed_left" {
    when = layer.part == "VISON" && layer.index > 3
  }
  layer "swallowed_right" {
    when = false && layer.idx == 3
  }
  layer "swallowed_or" {
    when = true || layer.part > 3
  }
  layer "mixed" {
    when = layer.index == "3" || layer.is_group == "true" || layer.part == ["PRE", "POST"]
  }
  layer "infinite" {
    when = 1 / 0 > 3 || layer.index % (2 - 2) == 0
  }
  layer "not_bool" {
    when = layer.index
  }
  layer "quoted_bool" {
    when = "true"
  }
  layer "not_negated" {
    when = !layer.part
  }
  layer "bare" {
    when = index < 4 && part == "PRE"
  }
  layer "phase" {
    when = layer.phase == "single" || layer.phase != "prefil"
  }
  layer "conv" {
    when = layer.part == "CONV"
  }
  layer "listed" {
    when = contains(["PRE", "POTS"], layer.part)
  }
  layer "arms" {
    when = layer.is_group ? layer.index > "x" : layer.frm_end == 1
  }
  layer "excused" {
    when = try(layer.foo, true) && can(lenght("x"))
  }
  layer "model" {
    when = model.num_layers > 3 || model.format == "safetensors"
  }
}
