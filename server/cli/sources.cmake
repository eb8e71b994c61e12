# SPDX-License-Identifier: Apache-2.0
# All of server/cli but main.c, which is the program's.
set(CLI_SOURCES
  cli/admin_client.c
  cli/admin_session.c
  cli/cmd_config.c
  cli/cmd_explain.c
  cli/cmd_serve.c
  cli/cmd_status.c
  cli/columns.c
  cli/command.c
  cli/commands.c
  cli/completion.c
  cli/config.c
  cli/config_check.c
  cli/config_keys.c
  cli/config_print.c
  cli/config_take.c
  cli/config_text.c
  cli/config_value.c
  cli/config_yaml.c
  cli/help.c
  cli/larder.c
  cli/local.c
  cli/manual.c
  cli/show.c
  cli/text_file.c)
