# SPDX-License-Identifier: Apache-2.0
unit_test(store store store)
unit_test(store blob store)
unit_test(store index store)
unit_test(store ingest store)
unit_test(store index_list store)
unit_test(store evict store)
unit_test(store stage store)
