# Spend a budget of extra bits on the layers with the largest score.
SCORES = [(i * 7919) % 101 / 100 for i in range(28)]
BUDGET = 12
ranked = sorted(range(28), key=lambda i: (-SCORES[i], i))
chosen = set()
spent = 0
for i in ranked:
    cost = 1 if SCORES[i] < 0.9 else 2
    if spent + cost > BUDGET:
        break
    chosen.add(i)
    spent += cost
def get_layer_configuration(model_properties, layer):
    return {"precision": "A_BF16_W_INT8" if layer["index"] in chosen else "A_BF16_W_INT4"}
