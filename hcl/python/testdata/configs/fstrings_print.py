VERBOSE = True
TAG = 'cfg'

def log(*args, **kwargs):
    if VERBOSE:
        print(f"[{TAG}]", *args, sep=" ", **kwargs)

def get_layer_configuration(model_properties, layer):
    n = model_properties["num_hidden_layers"]
    idx = layer["index"]
    bits = 8 if layer["is_group"] else 4
    precision = f"A_BF16_W_INT{bits}"
    log(f"{layer['part']:<6}|{idx:>3d}/{n:03d} {idx / n:6.2%} {idx/n:.3f} {precision!r} {{braces}} {layer['is_group']}")
    if idx == n - 1:
        log(f"{idx=} {precision=!s} {1e6:,.1f} {12345678:,} {255:#x} {255:08b} {'x':^5}|{-3:+d}|{3:+d}")
        log("%s has %d bits, %.2f, %5s|%-5s|%03d %%" % (layer["part"], bits, idx / 3, "a", "b", 7))
        log("{} {1} {0} {name!r:>8}".format(1, 2, name="z") if False else "{} {} {name!r:>8} {:.1f}".format(1, 2, 3, name="z"))
        log(str([1, 'a', None, True, 1.5, (1,), {"k": "v's"}]), 1e16, 1e-5, 0.1 + 0.2, 1 / 3, 100.0, 5 // 2, -5 // 2, -5 % 3, 2 ** 10, 2 ** -1)
    return {"precision": precision}
