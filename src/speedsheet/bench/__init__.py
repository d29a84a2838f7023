"""One row, end to end, in worker processes of its own; and the sheet that rows make."""
