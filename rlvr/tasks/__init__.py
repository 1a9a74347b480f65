"""What is asked: one file a task, problem i the same on every machine."""

BUILTIN: dict[str, str] = {
    "arithmetic": "rlvr.tasks.arithmetic:Arithmetic",
    "countdown": "rlvr.tasks.countdown:Countdown",
    "gsm8k": "rlvr.tasks.gsm8k:GSM8K",
    "math": "rlvr.tasks.math:Math",
    "jsonl": "rlvr.tasks.jsonl:Jsonl",
    "humaneval": "rlvr.tasks.humaneval:HumanEval",
    "mbpp": "rlvr.tasks.mbpp:MBPP",
    "text2sql": "rlvr.tasks.text2sql:Text2SQL",
}
