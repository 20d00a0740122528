"""One folder a question: its plan, its measuring, its findings, its words."""
