PREFIX = "A_" "BF16_" 'W_'
DOC = ("a long text "
       "over lines")
RAW = r"\d+" + u"x" + R'''\n'''
NUM = 1_000 + 0x_ff + 0b1_0 + 0o17 + 1_0.5_0
assert RAW == "\\d+x\\n" and len(RAW) == 6
assert NUM == 1000 + 255 + 2 + 15 + 10.5
assert "\x41\u0042\t\101" == "AB\tA"
def get_layer_configuration(model_properties, layer):
    return {"precision": ("A_BF16_"
            "W_INT8")} if False else {"precision": PREFIX + "INT" f"{8 if layer['is_group'] else 4}"}
