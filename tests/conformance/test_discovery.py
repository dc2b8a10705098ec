# SPDX-License-Identifier: Apache-2.0
"""Finding the devices: ibv_devices, ibv_devinfo (package ibverbs-utils), and every-day programs over /sys and /dev.

The values are those of Linux 6.1's rdma_rxe as ibv_devinfo -v prints them on a real kernel, except max_msg_sz, which is
6.12's.
"""

import os
import re
import unittest

import harness

# name -> value, in ibv_devinfo -v's words. Linux drivers/infiniband/sw/rxe/rxe_param.h, rxe_init_device_param().
DEVICE = {
    "transport": "InfiniBand (0)", "fw_ver": "0.0.0", "vendor_id": "0xffffff", "vendor_part_id": "0", "hw_ver": "0x0",
    "phys_port_cnt": "1", "max_mr_size": "0xffffffffffffffff", "page_size_cap": "0xfffff000", "max_qp": "1048560",
    "max_qp_wr": "1048576", "device_cap_flags": "0x01223c76", "max_sge": "32", "max_sge_rd": "32", "max_cq": "1048576",
    "max_cqe": "32767", "max_mr": "524287", "max_pd": "1048576", "max_qp_rd_atom": "128", "max_ee_rd_atom": "0",
    "max_res_rd_atom": "258048", "max_qp_init_rd_atom": "128", "max_ee_init_rd_atom": "0",
    "atomic_cap": "ATOMIC_HCA (1)", "max_ee": "0", "max_rdd": "0", "max_mw": "524287", "max_raw_ipv6_qp": "0",
    "max_raw_ethy_qp": "0", "max_mcast_grp": "8192", "max_mcast_qp_attach": "56",
    "max_total_mcast_qp_attach": "458752", "max_ah": "32767", "max_fmr": "0", "max_srq": "917503",
    "max_srq_wr": "1048576", "max_srq_sge": "27", "max_pkeys": "64", "local_ca_ack_delay": "15", "max_wq_type_rq": "0",
    "max_tso": "0", "device_cap_flags_ex": "0x1C001223C76",
}
# rxe_init_port_param(), rxe_query_port().
PORT = {
    "state": "PORT_ACTIVE (4)", "max_mtu": "4096 (5)", "sm_lid": "0", "port_lid": "0", "port_lmc": "0x00",
    "link_layer": "Ethernet", "max_msg_sz": "0x80000000", "port_cap_flags": "0x00010000", "port_cap_flags2": "0x0000",
    "max_vl_num": "1 (1)", "gid_tbl_len": "1024", "pkey_tbl_len": "1", "phys_state": "LINK_UP (5)",
}


def fields(text):
    """{"rxe0": {"max_qp": "1048560", ...}, ...}"""
    devices = {}
    current = None
    for line in text.splitlines():
        match = re.match(r"\s*([A-Za-z0-9_]+(?:\[ *\d+\])?):\s*(.*?)\s*$", line)
        if not match:
            continue
        if match[1] == "hca_id":
            current = devices.setdefault(match[2], {})
        elif current is not None:
            current.setdefault(match[1].replace(" ", ""), match[2])
    return devices


class IbverbsUtils(harness.TestCase):
    def test_ibv_devices_lists_both_nics(self):
        got = self.run_ok(harness.need("ibv_devices"))
        guids = dict(re.findall(r"^\s+(rxe\d)\s+([0-9a-f]{16})$", got.out, re.M))
        self.assertLessEqual({"rxe0", "rxe1"}, set(guids), str(got))
        self.assertNotEqual(guids["rxe0"], guids["rxe1"])

    def test_ibv_devinfo_shows_active_ports(self):
        got = self.run_ok(harness.need("ibv_devinfo"))
        devices = fields(got.out)
        for name in ("rxe0", "rxe1"):
            self.assertEqual(devices[name]["state"], "PORT_ACTIVE (4)", str(got))
            self.assertEqual(devices[name]["link_layer"], "Ethernet")

    def test_ibv_devinfo_verbose_equals_the_kernels_rxe(self):
        got = self.run_ok(harness.need("ibv_devinfo"), "-v")
        devices = fields(got.out)
        for name in ("rxe0", "rxe1"):
            for field, value in {**DEVICE, **PORT}.items():
                with self.subTest(device=name, field=field):
                    self.assertEqual(devices[name].get(field), value)
            self.assertRegex(devices[name]["node_guid"], r"^([0-9a-f]{4}:){3}[0-9a-f]{4}$")
            self.assertEqual(devices[name]["node_guid"], devices[name]["sys_image_guid"])
            self.assertRegex(devices[name]["active_mtu"], r"^(256|512|1024|2048|4096) \([1-5]\)$")
            self.assertTrue(devices[name]["GID[0]"].startswith("fe80:"), devices[name]["GID[0]"])
        self.assertIn("MEM_WINDOW_TYPE_2B", got.out)
        self.assertEqual(got.err, "")

    def test_ibv_devinfo_of_one_device_and_port(self):
        got = self.run_ok(harness.need("ibv_devinfo"), "-d", "rxe1", "-i", "1")
        self.assertEqual(set(fields(got.out)), {"rxe1"})

    def test_ibv_devinfo_of_a_device_that_is_not_there(self):
        got = self.machine.run(harness.need("ibv_devinfo"), "-d", "rxe7")
        self.assertNotEqual(got.status, 0, str(got))


class EveryDayPrograms(harness.TestCase):
    """Programs that know nothing of RDMA see the nodes as they are on a machine that has them."""

    def test_python_lists_the_class_folder(self):
        got = self.run_ok("python3", "-c",
                          "import os; print(sorted(os.listdir('/sys/class/infiniband')),"
                          "sorted(e.name for e in os.scandir('/dev/infiniband')), os.path.isdir('/sys/class/accel'),"
                          "'infiniband' in os.listdir('/sys/class'), 'accel' in os.listdir('/dev'),"
                          "'net' in os.listdir('/sys/class'), 'null' in os.listdir('/dev'))")
        self.assertIn("['rxe0', 'rxe1']", got.out)
        self.assertIn("'uverbs0', 'uverbs1'", got.out)
        self.assertIn("True True True True True", got.out)

    def test_ls_shows_device_numbers(self):
        got = self.run_ok("ls", "-l", "/dev/infiniband")
        self.assertRegex(got.out, r"(?m)^crw-rw-rw-.* 231, 192 .* uverbs0$")
        self.assertRegex(got.out, r"(?m)^crw-rw-rw-.* 231, 193 .* uverbs1$")

    def test_ls_shows_accelerators(self):
        got = self.run_ok("ls", "-l", "/dev/accel")
        for name in ("accel0", "accel1", "accel_controlD0", "accel_controlD1"):
            self.assertRegex(got.out, rf"(?m)^c.* {name}$")

    def test_find_walks_the_device_folder(self):
        got = self.run_ok("find", "/sys/class/infiniband/rxe0/")
        for name in ("node_guid", "node_type", "fw_ver", "ports/1/state", "ports/1/gids/0", "ports/1/pkeys/0",
                     "ports/1/gid_attrs/types/0", "ports/1/gid_attrs/ndevs/0", "ports/1/hw_counters/sent_pkts"):
            self.assertIn(f"/sys/class/infiniband/rxe0/{name}\n", got.out)
        self.assertEqual(got.err, "")

    def test_cat_reads_attributes(self):
        base = "/sys/class/infiniband/rxe0"
        for path, pattern in ((f"{base}/node_type", "1: CA\n"), (f"{base}/ports/1/state", "4: ACTIVE\n"),
                              (f"{base}/ports/1/phys_state", "5: LinkUp\n"), (f"{base}/ports/1/pkeys/0", "0xffff\n"),
                              (f"{base}/ports/1/link_layer", "Ethernet\n"), (f"{base}/ports/1/lid", "0x0\n"),
                              (f"{base}/ports/1/gids/0", r"fe80(:[0-9a-f]{4}){7}\n"),
                              (f"{base}/ports/1/gid_attrs/types/0", "RoCE v2\n"),
                              (f"{base}/node_guid", r"[0-9a-f]{4}(:[0-9a-f]{4}){3}\n"),
                              ("/sys/class/infiniband_verbs/abi_version", "6\n"),
                              ("/sys/class/infiniband_verbs/uverbs0/ibdev", "rxe0\n"),
                              ("/sys/class/infiniband_verbs/uverbs0/dev", "231:192\n"),
                              ("/sys/class/accel/accel0/pci_addr", r"[0-9a-f]{4}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-7]\n"),
                              ("/sys/class/accel/accel0/device_type", "GAUDI2\n"),
                              ("/sys/class/accel/accel0/status", "Operational\n")):
            with self.subTest(path=path):
                self.assertRegex(self.run_ok("cat", path).out, "^" + pattern + "$")

    def test_an_empty_gid_entry_reads_as_einval(self):
        # Linux drivers/infiniband/core/sysfs.c _show_port_gid_attr(): an entry without a GID gives EINVAL.
        folder = "/sys/class/infiniband/rxe0/ports/1/gid_attrs/types"
        last = max(int(name) for name in self.run_ok("ls", folder).out.split())
        got = self.machine.run("cat", f"{folder}/{last}")
        self.assertEqual(got.status, 1, str(got))
        self.assertIn("Invalid argument", got.err)

    def test_stat_and_realpath(self):
        got = self.run_ok("stat", "-c", "%F %t:%T", "/dev/infiniband/uverbs0")
        self.assertEqual(got.out, "character special file e7:c0\n")
        got = self.run_ok("realpath", "/sys/class/infiniband/rxe0")
        self.assertRegex(got.out, r"^/sys/devices/.*/infiniband/rxe0\n$")
        got = self.run_ok("bash", "-c", "test -c /dev/accel/accel0 && cd /sys/class/infiniband/rxe0 && pwd -P && "
                                        "ls ports && echo /sys/class/infiniband/*")
        self.assertIn("/sys/class/infiniband/rxe0 /sys/class/infiniband/rxe1", got.out)

    def test_sys_dev_char_leads_from_number_to_device(self):
        # What hl-thunk's hlthunk_get_pci_bus_id_from_fd() does.
        script = ("import os; s = os.stat('/dev/accel/accel1').st_rdev;"
                  "print(open(f'/sys/dev/char/{os.major(s)}:{os.minor(s)}/pci_addr').read().strip());"
                  "print(open('/sys/class/accel/accel1/pci_addr').read().strip())")
        lines = self.run_ok("python3", "-c", script).out.split()
        self.assertEqual(lines[0], lines[1])
        self.run_ok("test", "-d", f"/sys/bus/pci/devices/{lines[0]}")

    # systemd's sd_device_new_from_devname() (`udevadm info /dev/infiniband/uverbs0`): from the number to the folder, whose
    # uevent names the node.
    def test_each_node_is_found_by_its_number(self):
        script = ("import os, sys\n"
                  "for node in sys.argv[1:]:\n"
                  "    s = os.stat(node).st_rdev\n"
                  "    folder = f'/sys/dev/char/{os.major(s)}:{os.minor(s)}'\n"
                  "    assert os.path.basename(folder) in os.listdir('/sys/dev/char'), node\n"
                  "    text = open(f'{folder}/uevent').read().split()\n"
                  "    assert f'DEVNAME={node[5:]}' in text, (node, text)\n"
                  "    assert os.path.realpath(folder).startswith('/sys/devices/'), node\n")
        self.run_ok("python3", "-c", script, "/dev/infiniband/uverbs0", "/dev/infiniband/uverbs1",
                    "/dev/infiniband/rdma_cm", "/dev/accel/accel0", "/dev/accel/accel_controlD1")

    # gnulib's fts (find, grep -r, du, chmod -R) goes back by openat(fd, "..") and compares what it finds with what it saw
    # on the way in; folders of the host that lie in the machine's must lead back there as well.
    def test_dots_lead_back(self):
        script = ("import os\n"
                  "def key(status): return status.st_dev, status.st_ino\n"
                  "for top in ('/sys/bus/pci', '/sys/devices', '/sys/class'):\n"
                  "    for folder, _, _ in os.walk(top):\n"
                  "        try: fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)\n"
                  "        except FileNotFoundError: continue  # of the host, which removed it\n"
                  "        above = os.open('..', os.O_RDONLY | os.O_DIRECTORY, dir_fd=fd)\n"
                  "        assert key(os.fstat(above)) == key(os.stat(os.path.dirname(folder))), folder\n"
                  "        os.close(fd)\n"
                  "        os.close(above)\n")
        self.run_ok("python3", "-c", script)
        got = self.machine.run("find", "/sys/bus/pci", "/sys/devices", "-name", "uverbs[01]")
        self.assertEqual(len(got.out.split()), 2, str(got))
        self.assertNotIn("failed to read", got.err)

    def test_lspci_shows_the_accelerators(self):
        got = self.run_ok(harness.need("lspci"), "-n")
        self.assertEqual(len(re.findall(r"1da3:1020", got.out)), 2, str(got))

    def test_the_hosts_own_nodes_stay(self):
        want = harness.execute(["bash", "-c", "ls /dev /sys/class /sys/class/net"]).out.split()
        got = self.run_ok("bash", "-c", "ls /dev /sys/class /sys/class/net").out.split()
        self.assertLessEqual(set(want), set(got))

    def test_nothing_is_seen_without_run(self):
        if not os.path.isdir("/sys/class/infiniband"):
            self.assertNotIn("rxe0", harness.execute(["ls", "/sys/class"]).out)
        else:
            raise unittest.SkipTest("this host has RDMA devices of its own")


if __name__ == "__main__":
    harness.main()
