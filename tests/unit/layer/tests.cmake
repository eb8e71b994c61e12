# SPDX-License-Identifier: Apache-2.0
unit_test(layer tar layer)
unit_test(layer index layer PkgConfig::ZLIB PkgConfig::ZSTD)
set_tests_properties(${LARDER_TEST_PREFIX}unit.layer.index PROPERTIES TIMEOUT 400) # 17 s of a processor that is its own
unit_test(layer view layer)
set_tests_properties(${LARDER_TEST_PREFIX}unit.layer.view PROPERTIES TIMEOUT 400) # 2 s of a processor that is its own
