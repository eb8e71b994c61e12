# SPDX-License-Identifier: Apache-2.0
# All of server/cli but main.c, which is the program's, and cmd_serve.c. Needs base, upstream (url.h), libyaml and jansson.
set(CLI_SOURCES
  cli/admin_client.c
  cli/admin_command.c
  cli/cmd_config.c
  cli/cmd_explain.c
  cli/cmd_status.c
  cli/commands.c
  cli/config.c
  cli/config_check.c
  cli/config_keys.c
  cli/config_print.c
  cli/config_take.c
  cli/config_text.c
  cli/config_value.c
  cli/config_yaml.c
  cli/usage.c)
