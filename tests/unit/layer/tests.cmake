# SPDX-License-Identifier: Apache-2.0
unit_test(layer tar layer)
unit_test(layer index layer PkgConfig::ZLIB PkgConfig::ZSTD)
unit_test(layer view layer)
