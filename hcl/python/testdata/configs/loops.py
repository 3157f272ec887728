SENSITIVE = []
for block in range(0, 28, 7):
    for offset in (0, 1):
        if block + offset not in SENSITIVE:
            SENSITIVE.append(block + offset)
i = 0
while True:
    i += 1
    if i % 2:
        continue
    if i > 10:
        break
    SENSITIVE += [i * 2]
SENSITIVE.sort(reverse=True)
assert SENSITIVE[0] == 22, f"got {SENSITIVE}"
assert len(set(SENSITIVE)) == len(SENSITIVE) - 1

def get_layer_configuration(model_properties, layer):
    for s in SENSITIVE:
        if s == layer["index"]:
            return {"precision": "BF16"}
    return {"precision": "A_BF16_W_INT4"}
