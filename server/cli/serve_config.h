/* SPDX-License-Identifier: Apache-2.0 */
/* The configuration that `larder serve` runs by: the file, and over it the options of the command line. */
#pragma once

#include "base/err.h"

struct command_line;
struct config;

/* The file's path; NULL when there is none. Borrowed from the command line or the environment. */
const char *serve_config_path(const struct command_line *line);

/* Reads it, as it is now. EXIT_DONE; EXIT_CONFIG, for the file's mistakes; EXIT_USAGE, for the command line's. */
int serve_config_make(const struct command_line *line, struct config **config, struct err *err);

/* Says in the log what another configuration changes that only a restart can. */
void serve_config_tell_fixed(const struct config *running, const struct config *wanted);
