from nas.experiment.folder import RunFolder
def write_report(folder, summary):
    folder.write("report.html", lambda p: p.write_text("x")); return folder.path/"report.html"
