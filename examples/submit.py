"""Submits typed jobs and reads their results as they come: `python examples/submit.py TEXT…`.

Start a worker first, such as `stoker up --preload text-classification=ORG/NAME`, and name its
server in STOKER_REDIS_URL.
"""

import sys

from stoker import Client, Failure, TextClassification


def main(texts: list[str]) -> int:
    """Classify texts; the exit status is 1 if a job failed."""
    failed = 0
    with Client() as client:
        # 500 jobs a round trip; the worker makes batches of what has come in meanwhile.
        handles = client.submit_many(TextClassification(inputs=text) for text in texts)
        of = dict(zip((handle.id for handle in handles), texts, strict=True))
        for handle, result in client.as_completed(handles, timeout=600):
            if isinstance(result, Failure):
                failed += 1
                print(f"{of[handle.id]}: {result.error}: {result.message}", file=sys.stderr)
                continue
            best = result.output[0]
            timing = result.timing
            print(
                f"{of[handle.id]}: {best['label']} ({best['score']:.3f}), "
                f"in a batch of {timing.batch_size}, {timing.forward_ms:.0f} ms on the device"
            )
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:] or ["I like you.", "I love you.", "It could have been worse."]))
