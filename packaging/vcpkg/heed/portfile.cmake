# A port that lives in heed's own tree: vcpkg install heed --overlay-ports=heed/packaging/vcpkg
# A triplet may set HEED_TARGETS, as docs/building.md has it.
get_filename_component(SOURCE_PATH "${CURRENT_PORT_DIR}/../../.." ABSOLUTE)
set(VCPKG_BUILD_TYPE release)  # heed is optimized in a debug build too
set(VCPKG_POLICY_MISMATCHED_NUMBER_OF_BINARIES enabled)
set(VCPKG_POLICY_SKIP_MISPLACED_CMAKE_FILES_CHECK enabled)
set(VCPKG_POLICY_SKIP_LIB_CMAKE_MERGE_CHECK enabled)

string(COMPARE EQUAL "${VCPKG_LIBRARY_LINKAGE}" "dynamic" shared)
vcpkg_check_features(OUT_FEATURE_OPTIONS features FEATURES
  openmp HEED_OPENMP
  layer HEED_LAYER
)
if(DEFINED HEED_TARGETS)
  list(APPEND features "-DHEED_TARGETS=${HEED_TARGETS}")
endif()
vcpkg_cmake_configure(SOURCE_PATH "${SOURCE_PATH}" OPTIONS
  "-DHEED_HIGHWAY=${CURRENT_INSTALLED_DIR}/include" "-DHEED_SHARED=${shared}" ${features})
vcpkg_cmake_install()
vcpkg_fixup_pkgconfig()
file(INSTALL "${CMAKE_CURRENT_LIST_DIR}/usage" DESTINATION "${CURRENT_PACKAGES_DIR}/share/heed")
vcpkg_install_copyright(FILE_LIST "${SOURCE_PATH}/LICENSE")
