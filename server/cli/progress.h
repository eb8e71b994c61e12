/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How far a job is, on standard output: on a terminal in two lines, images (with the names of those that are being
 * fetched) and layers, that are drawn again and again; elsewhere a line whenever an image is done, and now and then
 * between.
 */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stdio.h>

struct progress;

struct progress *progress_new(FILE *out, bool on_terminal);
/* The job as it is now. */
void progress_show(struct progress *progress, const json_t *job);
/* Clears what was drawn. Takes NULL. */
void progress_free(struct progress *progress);
