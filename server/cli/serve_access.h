/* SPDX-License-Identifier: Apache-2.0 */
/* From the configuration to who may pull (server/access), and to what larder gives up (sandbox.h). */
#pragma once

#include "base/err.h"

struct access;
struct config;

/* Makes `*access` from the configuration, or gives it the new users and rules when there is one already. Stays NULL
 * where nobody has to log in. ERR_IO, or ERR_INVALID with the file's line; then all stays as it was. */
int serve_access(const struct config *config, struct access **access, struct err *err);

/* Enters the sandbox, where the configuration does not say otherwise: before the first thread. Makes the store's folder
 * where there is none. `config_path` is the file that a reload reads again; NULL: none. As sandbox_enter(). */
int serve_sandbox(const struct config *config, const char *config_path, struct err *err);
