# A port that lives in heed's own tree: vcpkg install heed --overlay-ports=heed/packaging/vcpkg
get_filename_component(SOURCE_PATH "${CURRENT_PORT_DIR}/../../.." ABSOLUTE)
set(VCPKG_BUILD_TYPE release)  # heed is optimized in a debug build too
set(VCPKG_POLICY_SKIP_MISPLACED_CMAKE_FILES_CHECK enabled)
set(VCPKG_POLICY_SKIP_LIB_CMAKE_MERGE_CHECK enabled)

string(COMPARE EQUAL "${VCPKG_LIBRARY_LINKAGE}" "dynamic" shared)
set(openmp OFF)
if("openmp" IN_LIST FEATURES)
  set(openmp ON)
endif()
vcpkg_cmake_configure(SOURCE_PATH "${SOURCE_PATH}" OPTIONS
  "-DHEED_HIGHWAY=${CURRENT_INSTALLED_DIR}/include" "-DHEED_SHARED=${shared}" "-DHEED_OPENMP=${openmp}")
vcpkg_cmake_install()
file(INSTALL "${SOURCE_PATH}/LICENSE" DESTINATION "${CURRENT_PACKAGES_DIR}/share/heed" RENAME copyright)
