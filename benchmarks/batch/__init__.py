"""What a batch promises, measured: throughput, a batch killed again and again, and bad blocks among good ones."""
