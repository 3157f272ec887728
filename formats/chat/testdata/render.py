"""Renders a chat template as transformers does: reads {"template", "variables",
"cases": [[messages, add_generation_prompt]]} from standard input and writes the
list of texts, null where Jinja refuses.

    python render.py < cases.json
"""

import json
import sys

from jinja2.exceptions import TemplateError
from jinja2.sandbox import ImmutableSandboxedEnvironment

doc = json.load(sys.stdin)
template = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True).from_string(doc["template"])
out = []
for messages, add in doc["cases"]:
    try:
        out.append(template.render(messages=messages, add_generation_prompt=add, **doc["variables"]))
    except TemplateError:
        out.append(None)
json.dump(out, sys.stdout)
