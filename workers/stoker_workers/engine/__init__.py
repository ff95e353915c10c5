"""From checked job to result: batches, stages and faults, without a broker and without torch."""
