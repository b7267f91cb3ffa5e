"""Answer rows by transformers and PEFT alone: `python -m tests.peft_answers BASE ADAPTER ROWS`.

One answer a line, greedy. A process of its own, because no test imports torch.
"""

import json
import sys
from pathlib import Path

from deploy.demo.company import ROUTING_PROMPT
from deploy.demo.measure import answer, load


def main() -> None:
    """Load, answer, print."""
    base, adapter, rows = map(Path, sys.argv[1:])
    model, tokenizer = load(base, adapter)
    system = {"role": "system", "content": ROUTING_PROMPT}
    prompts = [[system, *json.loads(row)["messages"][:-1]] for row in rows.read_text().splitlines()]
    sys.stdout.writelines(f"{said}\n" for said in answer(model, tokenizer, prompts))


if __name__ == "__main__":
    main()
