"""How every command speaks and ends: options, progress, tables, exit status, whole files."""
