import math
from math import ceil, floor, log2, sqrt as root
def get_layer_configuration(model_properties, layer):
    i = layer["index"]
    if i in [2 ** k for k in range(5)]:
        return {"precision": "BF16"}
    if root(i) == math.floor(math.sqrt(i)) and i ** 0.5 == int(i ** 0.5):
        return {"precision": "A_BF16_W_INT8"}
    if round(i / 4) % 2 == 0 and round(2.5) == 2 and round(2.675, 2) == 2.67 and pow(2, 3) == 8:
        return {"precision": "A_BF16_W_INT4"}
    if ceil(log2(i + 1)) > 4 and -2 ** 2 == -4 and divmod(7, 2) == (3, 1) and abs(-3) == 3:
        return {"precision": "A_BF16_W_INT8"}
    return {"precision": "BF16"}
