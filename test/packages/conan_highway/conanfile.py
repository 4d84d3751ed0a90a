"""Highway's headers from the folder HIGHWAY, where Conan's server, which has a recipe, is out of reach."""
import os

from conan import ConanFile
from conan.tools.files import copy


class HighwayConan(ConanFile):
    name = "highway"
    version = "1.3.0"
    package_type = "header-library"

    def package(self):
        copy(self, "hwy/*.h", src=os.environ["HIGHWAY"], dst=os.path.join(self.package_folder, "include"))

    def package_info(self):
        self.cpp_info.components["hwy"].libs = []  # the server's recipe has components too
        self.cpp_info.includedirs = []
