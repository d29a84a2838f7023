"""Questions over records: which there are, whether they hold, how two of them differ, whether a row got slower."""
