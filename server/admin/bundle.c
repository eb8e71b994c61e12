/* SPDX-License-Identifier: Apache-2.0 */
/* `larder export`, `import` and `receipt`: images as one archive, out and in. Streams: their thread may block. */
#include "server/admin/admin_internal.h"

#include "base/cleanup.h"
#include "base/log.h"
#include "server/bundle/bundle.h"
#include "server/bundle/import.h"
#include "server/bundle/receipt.h"
#include "server/pull/look.h"
#include "server/registry/route.h"
#include "store/index.h"
#include "store/store.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define BLOCK_BYTES   ADMIN_PIPE_BYTES
#define VALUES_MAX    256
#define RECEIPT_MAX   ((uint64_t)256 << 20) /* eight million blobs */
#define JOB_LOOK_US   20000
#define HEX_KEY_BYTES (2 * SIGN_PUBLIC_KEY_BYTES)

/* Names: as clients ask for them. A registry that is not configured may well be one whose images are carried. */

static int locate(void *arg, const struct ref *ref, struct bundle_name *name, struct err *err)
{
	struct pull *pull = arg;
	_cleanup_free_ char *path = NULL;
	struct route route = {0};
	int code;

	if (ref->host_len && !pull_find_upstream(pull, ref->name, ref->host_len))
		return bundle_locate_plainly(NULL, ref, name, err);
	path = mem_printf("/v2/%s/manifests/latest", ref->name);
	code = route_parse(pull, path, "", &route, err);
	if (code)
		return code;
	snprintf(name->upstream, sizeof(name->upstream), "%s", pull_upstream_name(route.upstream));
	memcpy(name->repository, route.repository, sizeof(route.repository));
	return 0;
}

/* Parameters. */

struct values {
	char *items[VALUES_MAX];
	size_t count;
};

static void values_dispose(struct values *values)
{
	for (size_t i = 0; i < values->count; i++)
		free(values->items[i]);
}

/* All values of a parameter that may be given more than once. ERR_INVALID, ERR_LIMIT. */
static int read_values(struct admin_visit *visit, const char *name, struct values *values, struct err *err)
{
	const char *query = visit->query;
	char value[ADMIN_VALUE_MAX];
	int code;

	while (query && (code = http_query_value(query, name, value, sizeof(value))) != ERR_NOT_FOUND) {
		if (code)
			return err_set(err, ERR_INVALID, "the parameter %s is malformed", name);
		if (values->count == VALUES_MAX)
			return err_set(err, ERR_LIMIT, "the parameter %s is given more than %d times", name,
				       VALUES_MAX);
		values->items[values->count++] = mem_strdup(value);
		query = http_query_behind(query, name);
	}
	return 0;
}

static bool is_set(struct admin_visit *visit, const char *name, bool standard)
{
	char value[ADMIN_VALUE_MAX];

	if (http_query_value(visit->query, name, value, sizeof(value)))
		return standard;
	return strcmp(value, "0") != 0 && strcmp(value, "false") != 0;
}

/* Export. */

struct export
{
	struct values references, platforms;
	struct plan_options options;
	struct receipt *receipt;
	bool receipt_is_unfit;
	struct bundle *bundle;
};

static void export_dispose(struct export *export)
{
	values_dispose(&export->references);
	values_dispose(&export->platforms);
	bundle_free(export->bundle);
	receipt_free(export->receipt);
}

static int read_export(struct admin_visit *visit, struct export *export, struct err *err)
{
	char format[ADMIN_VALUE_MAX] = "oci";
	int code = read_values(visit, "ref", &export->references, err);

	if (code == 0)
		code = read_values(visit, "platform", &export->platforms, err);
	if (code)
		return code;
	if (export->references.count == 0)
		return err_set(err, ERR_INVALID, "the parameter ref is missing");
	(void)http_query_value(visit->query, "format", format, sizeof(format));
	if (strcmp(format, "oci") != 0 && strcmp(format, "docker-archive") != 0)
		return err_set(err, ERR_INVALID, "the format is none of oci and docker-archive");
	export->options = (struct plan_options){
		.locator = {locate, visit->admin->pull},
		.references = (const char *const *)export->references.items,
		.reference_count = export->references.count,
		.platforms = {.items = (const char *const *)export->platforms.items, .count = export->platforms.count},
		.format = strcmp(format, "oci") == 0 ? BUNDLE_OCI : BUNDLE_DOCKER,
		.no_referrers = !is_set(visit, "referrers", true),
	};
	return 0;
}

/* The receipt that was sent, in a file that goes with its descriptor. */
static int read_receipt(struct admin_visit *visit, struct receipt **receipt, struct err *err)
{
	_cleanup_close_ int fd = -1;
	_cleanup_free_ char *block = mem_alloc(BLOCK_BYTES);
	uint64_t size = 0;
	ssize_t got;
	int code = store_open_scratch(visit->admin->store, &fd, err);

	while (code == 0 && (got = admin_read(visit, block, BLOCK_BYTES)) != 0) {
		if (got < 0)
			return err_set(err, (int)got, "the receipt was not sent to its end");
		size += (uint64_t)got;
		if (size > RECEIPT_MAX)
			return err_set(err, ERR_INVALID, "the receipt is too long");
		if (write(fd, block, (size_t)got) != got)
			return err_set(err, ERR_NO_SPACE, "cannot keep the receipt");
	}
	return code ? code : receipt_open(fd, receipt, err);
}

/* What is not held is fetched first, by a job like any other prefetch: behind clients, and seen by whoever watches. */

static json_t *texts_of(const char *const *items, size_t count)
{
	json_t *list = json_array();

	for (size_t i = 0; i < count; i++)
		json_array_append_new(list, admin_words(items[i]));
	return list;
}

/* What a job says of an error, as the code that it was; what does not matter to whoever exports is the upstream's. */
static int code_of(const char *reason)
{
	static const int codes[] = {ERR_NOT_FOUND, ERR_DENIED, ERR_RATE, ERR_NO_SPACE};

	for (size_t i = 0; i < sizeof(codes) / sizeof(codes[0]); i++)
		if (strcmp(reason, err_name(codes[i])) == 0)
			return codes[i];
	return ERR_UPSTREAM;
}

/* Waits for the job's end, or larder's. What failed of it is in *why. */
static void await_job(struct admin_visit *visit, const char *id, struct err *why)
{
	struct jobs *jobs = visit->admin->jobs;
	const json_t *failure;
	bool ended = false;
	json_t *job;

	while (jobs_version(jobs, id, &ended) != 0 && !ended)
		usleep(JOB_LOOK_US);
	job = jobs_describe(jobs, id, JOB_WHOLE);
	failure = json_array_get(json_object_get(job, "errors"), 0);
	if (failure)
		err_set(why, code_of(json_string_value(json_object_get(failure, "reason"))), "cannot fetch %s: %s",
			json_string_value(json_object_get(failure, "image")),
			json_string_value(json_object_get(failure, "message")));
	else if (json_is_null(json_object_get(job, "finished")))
		err_set(why, ERR_CANCELLED, "larder is shutting down");
	json_decref(job);
}

static void fetch(struct admin_visit *visit, const struct export *export, struct err *why)
{
	const struct plan_options *options = &export->options;
	char id[JOB_ID_MAX], theirs[ADMIN_VALUE_MAX];
	json_t *request;

	/* Whoever wants to watch it has started it. */
	if (http_query_value(visit->query, "job", theirs, sizeof(theirs)) == 0) {
		await_job(visit, theirs, why);
		return;
	}
	request = json_pack("{s:o, s:o, s:b, s:b}", "images", texts_of(options->references, options->reference_count),
			    "platforms", texts_of(options->platforms.items, options->platforms.count), "referrers",
			    !options->no_referrers, "platform_referrers", !options->no_referrers);

	if (prefetch_check(&visit->admin->prefetch, request, why)) {
		json_decref(request);
		return;
	}
	if (jobs_start(visit->admin->jobs, "prefetch", request, visit->client, id, why) == 0)
		await_job(visit, id, why);
}

/* Whether all of it is here; if not, and fetching failed, that is why. */
static int judge_plan(const struct plan *plan, const struct err *why, struct err *err)
{
	uint64_t bytes;

	if (!why->code || plan_count(plan, PLAN_MISSING, &bytes) == 0)
		return 0;
	*err = *why;
	return why->code;
}

static int plan_export(struct admin_visit *visit, struct export *export, struct err *err)
{
	struct store *store = visit->admin->store;
	struct err why = {0};
	struct plan *plan;
	int code;

	if (!is_set(visit, "held_only", false) && !pull_is_offline(visit->admin->pull))
		fetch(visit, export, &why);
	/* What was learnt just now is to be seen. */
	(void)index_write(store_index(store), NULL, 0, NULL);
	code = plan_make(store, &export->options, &plan, err);
	if (code == ERR_NOT_FOUND && why.code)
		*err = why;
	if (code)
		return err->code;
	code = judge_plan(plan, &why, err);
	if (code) {
		plan_free(plan);
		return code;
	}
	return bundle_make(store, plan, &export->options, &export->bundle, err);
}

static int prepare(struct admin_visit *visit, struct export *export, struct err *err)
{
	int code = read_export(visit, export, err);

	if (code == 0 && visit->method == HTTP_POST) {
		code = read_receipt(visit, &export->receipt, err);
		export->receipt_is_unfit = code == ERR_INVALID;
	}
	export->options.have = export->receipt;
	return code ? code : plan_export(visit, export, err);
}

static void send_bundle(struct admin_visit *visit, struct bundle *bundle)
{
	static const struct http_header headers[] = {
		{"Content-Type", "application/x-tar"},
		{"Cache-Control", "no-store"},
		{"X-Content-Type-Options", "nosniff"},
	};
	_cleanup_free_ char *block = mem_alloc(BLOCK_BYTES);
	uint64_t position = 0;
	struct err err = {0};
	ssize_t got;

	admin_reply_stream(visit, 200, headers, sizeof(headers) / sizeof(headers[0]), bundle_size(bundle));
	while ((got = bundle_read(bundle, position, block, BLOCK_BYTES, &err)) > 0) {
		position += (uint64_t)got;
		if (admin_write(visit, block, (size_t)got))
			return;
	}
	if (got < 0) {
		log_warn("admin: an export breaks off: %s", err.text);
		admin_cut(visit);
	}
}

void admin_export(struct admin_visit *visit)
{
	_cleanup_(export_dispose) struct export export = {0};
	struct err err = {0};

	if (prepare(visit, &export, &err)) {
		(export.receipt_is_unfit ? admin_reply_unfit : admin_reply_err)(visit, &err);
		return;
	}
	if (!is_set(visit, "blobs", true))
		bundle_leave_blobs(export.bundle);
	send_bundle(visit, export.bundle);
}

/* Receipts. */

static void send_file(struct admin_visit *visit, int fd, uint64_t size)
{
	static const struct http_header headers[] = {
		{"Content-Type", "application/octet-stream"},
		{"Cache-Control", "no-store"},
	};
	_cleanup_free_ char *block = mem_alloc(BLOCK_BYTES);
	uint64_t position = 0;

	admin_reply_stream(visit, 200, headers, sizeof(headers) / sizeof(headers[0]), size);
	while (position < size) {
		ssize_t got = pread(fd, block, BLOCK_BYTES, (off_t)position);

		if (got <= 0) {
			admin_cut(visit);
			return;
		}
		position += (uint64_t)got;
		if (admin_write(visit, block, (size_t)got))
			return;
	}
}

void admin_receipt(struct admin_visit *visit)
{
	_cleanup_close_ int fd = -1;
	struct err err = {0};
	int code = store_open_scratch(visit->admin->store, &fd, &err);

	if (code == 0)
		code = receipt_write(visit->admin->store, fd, &err);
	if (code)
		admin_reply_err(visit, &err);
	else
		send_file(visit, fd, (uint64_t)lseek(fd, 0, SEEK_END));
}

/* Import. */

static ssize_t read_body(void *arg, void *data, size_t max)
{
	return admin_read(arg, data, max);
}

static int read_key(const char *hex, uint8_t key[SIGN_PUBLIC_KEY_BYTES], struct err *err)
{
	struct digest bytes;
	char text[DIGEST_TEXT_MAX];

	/* As long as a SHA-256, and written like one. */
	snprintf(text, sizeof(text), "sha256:%.*s", (int)HEX_KEY_BYTES, hex);
	if (strlen(hex) != HEX_KEY_BYTES || digest_parse(text, &bytes))
		return err_set(err, ERR_INVALID, "verify_key is not the 64 hex digits of an Ed25519 key");
	memcpy(key, bytes.bytes, SIGN_PUBLIC_KEY_BYTES);
	return 0;
}

static json_t *describe_images(struct admin_visit *visit, const struct import_report *report)
{
	json_t *images = json_array();
	char digest[DIGEST_TEXT_MAX];

	for (size_t i = 0; i < report->image_count; i++) {
		const struct import_image *image = &report->images[i];
		bool configured =
			pull_find_upstream(visit->admin->pull, image->text, strcspn(image->text, "/")) != NULL;

		json_array_append_new(images, json_pack("{s:s, s:s, s:b, s:b}", "name", image->text, "digest",
							digest_format(&image->digest, digest), "complete",
							image->missing == 0, "configured", configured));
	}
	return images;
}

static json_t *describe_missing(const struct import_report *report)
{
	json_t *list = json_array();
	char digest[DIGEST_TEXT_MAX];

	for (size_t i = 0; i < report->missing_count; i++) {
		const struct import_missing *missing = &report->missing[i];

		json_array_append_new(
			list, json_pack("{s:s, s:s, s:b}", "digest", digest_format(&missing->digest, digest), "image",
					report->images[missing->image].text, "promised", missing->promised));
	}
	return list;
}

static json_t *describe_blobs(uint64_t blobs, uint64_t bytes)
{
	return json_pack("{s:I, s:I}", "blobs", (json_int_t)blobs, "bytes", (json_int_t)bytes);
}

static void reply_report(struct admin_visit *visit, const struct import_report *report)
{
	admin_reply_json(visit, 200,
			 json_pack("{s:b, s:b, s:o, s:o, s:o, s:o}", "complete", report->missing_count == 0, "signed",
				   report->is_signed, "images", describe_images(visit, report), "imported",
				   describe_blobs(report->blobs_new, report->bytes_new), "held",
				   describe_blobs(report->blobs_held, report->bytes_held), "missing",
				   describe_missing(report)));
}

/* The request is well made; what it carries is not. */
static void refuse_archive(struct admin_visit *visit, const struct err *err)
{
	switch (err->code) {
	case ERR_INVALID:
	case ERR_DIGEST:
	case ERR_LIMIT:
		admin_reply_error(visit, 422, "refused", err->text);
		break;
	case ERR_UPSTREAM:
		admin_reply_error(visit, 422, "broken", err->text);
		break;
	default:
		admin_reply_err(visit, err);
		break;
	}
}

void admin_import(struct admin_visit *visit)
{
	char as[ADMIN_VALUE_MAX], hex[ADMIN_VALUE_MAX];
	uint8_t key[SIGN_PUBLIC_KEY_BYTES];
	struct import_options options = {.locator = {locate, visit->admin->pull}, .source = {read_body, visit}};
	struct import_report report = {0};
	struct err err = {0};
	size_t keys = 0;
	int code;

	if (!admin_parameter_optional(visit, "as", as) || !admin_parameter_optional(visit, "verify_key", hex))
		return;
	options.as = *as ? as : NULL;
	if (visit->admin->verify_key)
		options.keys[keys++] = visit->admin->verify_key;
	if (*hex && read_key(hex, key, &err)) {
		admin_reply_err(visit, &err);
		return;
	}
	if (*hex)
		options.keys[keys++] = key;
	code = import_run(visit->admin->store, &options, &report, &err);
	if (code == 0)
		reply_report(visit, &report);
	else
		refuse_archive(visit, &err);
	import_report_dispose(&report);
}
