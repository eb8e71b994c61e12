/* SPDX-License-Identifier: Apache-2.0 */
/* Signed bundles, and what is refused where a key is configured. */
#include "server/cli/bundle_sink.h"
#include "tests/unit/server/bundle_bed.h"

#include <gnutls/abstract.h>
#include <gnutls/x509.h>

static char private_key[1024], public_key[1024], other_key[1024];

/* As `openssl genpkey -algorithm ed25519` makes them. */
static void make_key(char private[1024], char public[1024])
{
	gnutls_x509_privkey_t made;
	gnutls_privkey_t key;
	gnutls_pubkey_t half;
	size_t len = 1023, half_len = 1023;

	gnutls_x509_privkey_init(&made);
	assert_int_equal(gnutls_x509_privkey_generate(made, GNUTLS_PK_EDDSA_ED25519, 256, 0), 0);
	assert_int_equal(
		gnutls_x509_privkey_export_pkcs8(made, GNUTLS_X509_FMT_PEM, NULL, GNUTLS_PKCS_PLAIN, private, &len), 0);
	gnutls_privkey_init(&key);
	gnutls_pubkey_init(&half);
	assert_int_equal(gnutls_privkey_import_x509(key, made, 0), 0);
	assert_int_equal(gnutls_pubkey_import_privkey(half, key, 0, 0), 0);
	assert_int_equal(gnutls_pubkey_export(half, GNUTLS_X509_FMT_PEM, public, &half_len), 0);
	gnutls_pubkey_deinit(half);
	gnutls_privkey_deinit(key);
	gnutls_x509_privkey_deinit(made);
}

static int make_keys(void **state)
{
	char unused[1024] = "";

	(void)state;
	make_key(private_key, public_key);
	make_key(other_key, unused);
	return 0;
}

static const char *const alpine[] = {"alpine:3"};

static int import_signed(struct bed *bed, struct tarball *tarball, const char *pem, const char *second)
{
	uint8_t key[SIGN_PUBLIC_KEY_BYTES], other[SIGN_PUBLIC_KEY_BYTES];
	struct import_options options = {.locator = plainly, .source = {tarball_read, tarball}, .keys = {key}};
	struct import_report report;
	int code;

	assert_int_equal(sign_read_public_key(pem, key, &bed->there.err), 0);
	if (second) {
		assert_int_equal(sign_read_public_key(second, other, &bed->there.err), 0);
		options.keys[1] = other;
	}
	tarball->at = 0;
	code = import_run(bed->there.store, &options, &report, &bed->there.err);
	if (code == 0)
		assert_true(report.is_signed);
	import_report_dispose(&report);
	return code;
}

static void read_archive(const char *path, struct tarball *tarball)
{
	FILE *file = fopen(path, "re");
	char block[4096];
	size_t got;

	assert_non_null(file);
	while ((got = fread(block, 1, sizeof(block), file)) > 0)
		assert_int_equal(buf_append(&tarball->data, block, got), 0);
	fclose(file);
}

/* As `larder export` signs: what comes from larder is signed on its way to the file. */
static void make_bundle(struct bed *bed, struct tarball *tarball, const char *key)
{
	struct plan_options options = bed_options(alpine, 1);
	_cleanup_free_ char *path = mem_printf("%s/bundle.tar", bed->here.top);
	_cleanup_(bundle_sink_dispose) struct bundle_sink sink = {.path = path, .key = key};
	_cleanup_(tarball_end) struct tarball made = {0};
	struct bundle *bundle;

	bed_image(&bed->here, "library/alpine", "3", "alpine");
	bundle = bed_bundle(&bed->here, &options);
	tarball_of(&made, bundle);
	bundle_free(bundle);
	assert_int_equal(bundle_sink_open(&sink), 0);
	assert_int_equal(bundle_sink_take(&sink, made.data.data, made.data.len), 0);
	assert_int_equal(bundle_sink_finish(&sink), 0);
	read_archive(path, tarball);
}

static void a_signed_bundle_is_taken_with_its_key(void **state)
{
	struct bed *bed = *state;
	_cleanup_(tarball_end) struct tarball tarball = {0};

	make_bundle(bed, &tarball, private_key);
	assert_int_equal(import_signed(bed, &tarball, public_key, private_key), 0);
}

static void one_that_another_key_signed_is_refused(void **state)
{
	struct bed *bed = *state;
	_cleanup_(tarball_end) struct tarball tarball = {0};

	make_bundle(bed, &tarball, other_key);
	assert_int_equal(import_signed(bed, &tarball, public_key, NULL), ERR_DENIED);
	assert_int_equal(import_signed(bed, &tarball, other_key, public_key), ERR_DENIED);
	bed_expect_nothing(&bed->there);
}

static void one_that_is_not_signed_is_refused(void **state)
{
	struct bed *bed = *state;
	_cleanup_(tarball_end) struct tarball tarball = {0}, other = {0}, self_alone = {0}, empty = {0};

	make_bundle(bed, &tarball, NULL);
	assert_int_equal(import_signed(bed, &tarball, public_key, NULL), ERR_DENIED);
	tarball_add(&other, "oci-layout", "{\"imageLayoutVersion\":\"1.0.0\"}");
	tarball_pad(&other, TAR_END);
	assert_int_equal(import_signed(bed, &other, public_key, NULL), ERR_DENIED);
	tarball_add(&self_alone, "larder-bundle.json", "{\"larderBundle\":1,\"files\":[],\"blobs\":[],\"leftOut\":[]}");
	tarball_pad(&self_alone, TAR_END);
	assert_int_equal(import_signed(bed, &self_alone, public_key, NULL), ERR_DENIED);
	tarball_pad(&empty, TAR_END);
	assert_int_not_equal(import_signed(bed, &empty, public_key, NULL), 0);
	bed_expect_nothing(&bed->there);
}

/* Many bytes of a tar header mean nothing here: what a file is owned by, when it was made. */
static void where_a_byte_was_changed_it_is_refused_or_the_same_comes_out(void **state)
{
	struct bed *bed = *state;
	_cleanup_(tarball_end) struct tarball tarball = {0};
	struct index_repository repository = {"docker.io", "library/alpine"};
	struct digest image = bed_image(&bed->here, "library/alpine", "3", "alpine");
	unsigned refused = 0, tried = 0;
	struct index_link link;

	make_bundle(bed, &tarball, private_key);
	for (size_t at = 0; at < tarball.data.len; at += 97, tried++) {
		tarball.data.data[at] ^= 1;
		if (import_signed(bed, &tarball, public_key, NULL))
			refused++;
		else
			assert_int_equal(index_get_link(scratch_index(&bed->there), &repository, &image, &link, NULL),
					 0);
		tarball.data.data[at] ^= 1;
	}
	assert_true(refused > tried / 4);
	assert_int_equal(import_signed(bed, &tarball, public_key, NULL), 0);
	assert_int_equal(scratch_totals(&bed->there).blobs, scratch_totals(&bed->here).blobs);
	assert_int_equal(scratch_count_files(&bed->there, "partial"), 0);
}

static void a_bundle_with_a_blob_that_it_does_not_speak_of_is_refused(void **state)
{
	struct bed *bed = *state;
	_cleanup_(tarball_end) struct tarball tarball = {0};

	make_bundle(bed, &tarball, private_key);
	tarball.data.len -= TAR_END;
	tarball_add_blob(&tarball, "something else");
	tarball_pad(&tarball, TAR_END);
	assert_int_equal(import_signed(bed, &tarball, public_key, NULL), ERR_INVALID);
	bed_expect_nothing(&bed->there);
}

static void keys_of_another_kind_are_refused(void **state)
{
	uint8_t key[SIGN_PUBLIC_KEY_BYTES], signature[SIGN_SIGNATURE_BYTES];
	struct err err = {0};

	(void)state;
	assert_int_equal(sign_read_public_key("words", key, &err), ERR_INVALID);
	assert_int_equal(sign_bytes(public_key, "x", 1, signature, &err), ERR_INVALID);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		bed_test(a_signed_bundle_is_taken_with_its_key),
		bed_test(one_that_another_key_signed_is_refused),
		bed_test(one_that_is_not_signed_is_refused),
		bed_test(where_a_byte_was_changed_it_is_refused_or_the_same_comes_out),
		bed_test(a_bundle_with_a_blob_that_it_does_not_speak_of_is_refused),
		bed_test(keys_of_another_kind_are_refused),
	};

	return cmocka_run_group_tests_name("sign", tests, make_keys, NULL);
}
