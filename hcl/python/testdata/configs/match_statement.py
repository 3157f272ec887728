LAST = 27
class P:
    INT8 = "A_BF16_W_INT8"
def pick(part, group, index):
    match part, group:
        case "PRE", True:
            return "BF16"
        case ("PRE", _) if index > 20:
            return P.INT8
        case ["PRE" | "POST", False]:
            match index:
                case 0 | 1:
                    return "BF16"
                case -1:
                    return None
                case _ if index == LAST:
                    return "BF16"
            return "A_BF16_W_INT4"
        case ("VISION", _):
            return "BF16"
        case "nothing":
            return "?"
    return P.INT8
def get_layer_configuration(model_properties, layer):
    match = {"precision": pick(layer["part"], layer["is_group"], layer["index"])}
    match layer:
        case {"part": "CACHE", "index": 3 | 5}:
            return {"compile": False}
        case {"missing": _}:
            return {}
    match match["precision"]:
        case P.INT8:
            match["compile"] = True
    return match
