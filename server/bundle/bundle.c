/* SPDX-License-Identifier: Apache-2.0 */
#include "server/bundle/bundle.h"

#include "base/clock.h"
#include "server/bundle/describe.h"
#include "server/bundle/tar.h"
#include "store/index.h"
#include "store/store.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { SELF, INDEX, LAYOUT, TEXTS };

/* A file of the archive. Its header, its bytes and its padding follow each other from `start` on. */
struct member {
	uint64_t start;
	uint64_t size;
	const char *path; /* of a text; NULL: a blob */
	const char *text; /* its bytes */
	const struct digest *blob;
};

struct bundle {
	struct store *store;
	struct plan *plan;
	struct buf texts[TEXTS];
	bool without_blobs;
	struct member *members;
	size_t member_count;
	uint64_t size; /* 0 until the members have their places */
	size_t at;     /* the member that was read last … */
	int fd;        /* … and its file, when it is a blob */
};

void bundle_free(struct bundle *bundle)
{
	if (!bundle)
		return;
	if (bundle->fd >= 0)
		close(bundle->fd);
	for (size_t i = 0; i < TEXTS; i++)
		buf_dispose(&bundle->texts[i]);
	plan_free(bundle->plan);
	free(bundle->members);
	free(bundle);
}

void bundle_leave_blobs(struct bundle *bundle)
{
	assert(bundle->size == 0);
	bundle->without_blobs = true;
}

static int refuse_missing(const struct plan *plan, struct err *err)
{
	char digest[DIGEST_TEXT_MAX];
	uint64_t bytes;
	size_t count = plan_count(plan, PLAN_MISSING, &bytes);

	for (size_t i = 0; i < plan->item_count; i++)
		if (plan->states[i] == PLAN_MISSING)
			return err_set(err, ERR_NOT_FOUND, "%zu blobs are not held, %s among them", count,
				       digest_format(&plan->items[i].digest, digest));
	return 0;
}

/* What is about to be read is the last that is evicted. */
static void use_blobs(struct bundle *bundle)
{
	const struct plan *plan = bundle->plan;

	for (size_t i = 0; i < plan->item_count; i++) {
		struct index_change use = {
			.kind = INDEX_USE_BLOB, .digest = &plan->items[i].digest, .blob.last_use = clock_wall_s()};

		if (plan->states[i] == PLAN_CARRIED && plan->items[i].is_manifest)
			(void)index_write_later(store_index(bundle->store), &use, 1);
	}
}

static int write_texts(struct bundle *bundle, const struct plan_options *options, struct err *err)
{
	struct buf *texts = bundle->texts;
	struct described_file files[2];
	size_t count = 0;
	int code = 0;

	if (options->format == BUNDLE_DOCKER) {
		code = describe_docker(bundle->store, bundle->plan, &texts[INDEX], err);
		files[count++] = (struct described_file){DOCKER_MANIFEST, &texts[INDEX]};
	} else {
		describe_index(bundle->plan, &texts[INDEX]);
		buf_append_text(&texts[LAYOUT], LAYOUT_TEXT);
		files[count++] = (struct described_file){LAYOUT_FILE, &texts[LAYOUT]};
		files[count++] = (struct described_file){LAYOUT_INDEX, &texts[INDEX]};
	}
	return code ? code : describe_self(bundle->plan, options, files, count, &texts[SELF], err);
}

int bundle_make(struct store *store, struct plan *plan, const struct plan_options *options, struct bundle **out,
		struct err *err)
{
	struct bundle *bundle = mem_alloc(sizeof(*bundle));
	int code;

	*bundle = (struct bundle){.store = store, .plan = plan, .fd = -1};
	code = refuse_missing(plan, err);
	if (code == 0)
		code = write_texts(bundle, options, err);
	if (code) {
		bundle_free(bundle);
		return code;
	}
	use_blobs(bundle);
	*out = bundle;
	return 0;
}

/* Members. */

static size_t member_header(const struct member *member, uint8_t header[TAR_HEADER_MAX])
{
	char path[DESCRIBE_PATH_MAX];

	if (member->blob)
		return tar_header_at(describe_blob_path(member->blob, path), member->size, member->start, header);
	return tar_header(member->path, member->size, header);
}

static void add_member(struct bundle *bundle, struct member member)
{
	uint8_t header[TAR_HEADER_MAX];

	member.start = bundle->size;
	bundle->size += member_header(&member, header) + member.size + tar_padding(member.size);
	bundle->members[bundle->member_count++] = member;
}

static void add_text(struct bundle *bundle, const char *path, const struct buf *text)
{
	add_member(bundle, (struct member){.path = path, .text = text->data, .size = text->len});
}

/* Gives the members their places, once it is said whether the blobs are among them. */
static void settle(struct bundle *bundle)
{
	const struct plan *plan = bundle->plan;
	bool layout = bundle->texts[LAYOUT].len > 0;

	if (bundle->size > 0)
		return;
	bundle->members = mem_alloc((plan->item_count + TEXTS) * sizeof(*bundle->members));
	add_text(bundle, BUNDLE_SELF, &bundle->texts[SELF]);
	if (layout)
		add_text(bundle, LAYOUT_FILE, &bundle->texts[LAYOUT]);
	add_text(bundle, layout ? LAYOUT_INDEX : DOCKER_MANIFEST, &bundle->texts[INDEX]);
	for (size_t i = 0; i < plan->item_count; i++)
		if (plan->states[i] == PLAN_CARRIED && !bundle->without_blobs)
			add_member(bundle,
				   (struct member){.blob = &plan->items[i].digest, .size = plan->items[i].size});
	bundle->size += TAR_END;
}

uint64_t bundle_size(struct bundle *bundle)
{
	settle(bundle);
	return bundle->size;
}

/* Opens a member's blob, of which nothing but the bytes that were planned is read. */
static int open_member(struct bundle *bundle, size_t at, struct err *err)
{
	const struct member *member = &bundle->members[at];
	uint64_t size;
	int code;

	if (bundle->at == at && bundle->fd >= 0)
		return 0;
	if (bundle->fd >= 0)
		close(bundle->fd);
	bundle->fd = -1;
	bundle->at = at;
	code = store_open_blob(bundle->store, member->blob, &bundle->fd, &size, err);
	if (code == 0 && size != member->size)
		code = err_set(err, ERR_IO, "a blob changed while it was read");
	return code;
}

/* Reading. */

/* The member that a position is in; the end of the archive is behind the last. */
static size_t find_member(const struct bundle *bundle, uint64_t position)
{
	size_t low = 0, high = bundle->member_count;

	while (high - low > 1) {
		size_t middle = low + (high - low) / 2;

		if (bundle->members[middle].start <= position)
			low = middle;
		else
			high = middle;
	}
	return low;
}

static size_t min_size(uint64_t a, size_t b)
{
	return a < b ? (size_t)a : b;
}

static ssize_t read_content(struct bundle *bundle, size_t at, uint64_t offset, void *data, size_t max, struct err *err)
{
	const struct member *member = &bundle->members[at];
	ssize_t got;
	int code;

	max = min_size(member->size - offset, max);
	if (!member->blob) {
		memcpy(data, member->text + offset, max);
		return (ssize_t)max;
	}
	code = open_member(bundle, at, err);
	if (code)
		return code;
	got = pread(bundle->fd, data, max, (off_t)offset);
	if (got > 0)
		return got;
	return got < 0 ? err_set_errno(err, ERR_IO, errno, "cannot read a blob")
		       : err_set(err, ERR_IO, "a blob is shorter than it was");
}

ssize_t bundle_read(struct bundle *bundle, uint64_t position, void *data, size_t max, struct err *err)
{
	uint8_t header[TAR_HEADER_MAX];
	const struct member *member;
	size_t at, header_len;
	uint64_t offset, end;

	settle(bundle);
	if (position >= bundle->size || max == 0)
		return 0;
	at = find_member(bundle, position);
	member = &bundle->members[at];
	header_len = member_header(member, header);
	offset = position - member->start;
	if (offset < header_len) {
		max = min_size(header_len - offset, max);
		memcpy(data, header + offset, max);
		return (ssize_t)max;
	}
	if (offset - header_len < member->size)
		return read_content(bundle, at, offset - header_len, data, max, err);
	end = at + 1 < bundle->member_count ? bundle->members[at + 1].start : bundle->size;
	max = min_size(end - position, max);
	memset(data, 0, max);
	return (ssize_t)max;
}
