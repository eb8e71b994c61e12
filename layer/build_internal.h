/* SPDX-License-Identifier: Apache-2.0 */
/* What build.c gives to those that decompress: gzip_scan.c and zstd_scan.c. */
#pragma once

#include "layer/build.h"
#include "layer/spacing.h"

struct layer_builder;
struct gzip_scan;
struct zstd_scan;

/* Takes uncompressed bytes. */
int builder_output(struct layer_builder *builder, const void *data, size_t len, struct err *err);
/* The tar is complete: nothing more needs to be decompressed. */
bool builder_has_all(const struct layer_builder *builder);
/* Whether there is to be a checkpoint where we are. */
bool builder_wants_checkpoint(struct layer_builder *builder);
/* Puts one before the layer's byte `in`, which lies in, or just behind, what is being fed. A window is given later. */
void builder_add_checkpoint(struct layer_builder *builder, uint64_t in, uint8_t bits, bool fresh);
/* The window of the last checkpoint. */
int builder_add_window(struct layer_builder *builder, const struct buf *packed, struct err *err);
/* Of the byte before `in`. */
uint8_t builder_byte_before(const struct layer_builder *builder, uint64_t in);

struct gzip_scan *gzip_scan_new(struct layer_builder *builder);
void gzip_scan_free(struct gzip_scan *scan);
int gzip_scan_feed(struct gzip_scan *scan, const uint8_t *data, size_t len, struct err *err);
int gzip_scan_finish(struct gzip_scan *scan, struct err *err);

struct zstd_scan *zstd_scan_new(struct layer_builder *builder);
void zstd_scan_free(struct zstd_scan *scan);
int zstd_scan_feed(struct zstd_scan *scan, const uint8_t *data, size_t len, struct err *err);
int zstd_scan_finish(struct zstd_scan *scan, struct err *err);
