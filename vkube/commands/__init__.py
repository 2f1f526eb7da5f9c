"""The commands, one module for each family; `vkube.command_line.commands` has the table."""
