"""`make soak`: a million jobs of all kinds through one worker, whose memory must not grow."""
